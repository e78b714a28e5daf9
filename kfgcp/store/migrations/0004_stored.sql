-- What is kept of an output artifact says `stored` for one that lies in a bucket too, no longer `on_disk`.

UPDATE cache SET outputs = REPLACE(outputs, '"on_disk":', '"stored":');
UPDATE outcomes SET outputs = REPLACE(outputs, '"on_disk":', '"stored":');
