-- Whether somebody said that they saved their backup codes: whoever did not is told, until they do or make new ones.

ALTER TABLE backup_set ADD COLUMN saved_at timestamptz;
-- Nobody was asked before: sets that stand are taken for saved, so that no one is warned of what they have.
UPDATE backup_set SET saved_at = created_at;
