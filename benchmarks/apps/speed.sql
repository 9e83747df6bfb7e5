-- Many rows in one transaction, an index, queries, updates, and many transactions of one row.
PRAGMA journal_mode = DELETE;
CREATE TABLE item (id INTEGER PRIMARY KEY, number INTEGER, name TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
	INSERT INTO item SELECT i, (i * 7919) % 100003, 'item number ' || i FROM n;
COMMIT;
CREATE INDEX item_number ON item(number);
SELECT count(*), sum(length(name)) FROM item WHERE number BETWEEN 1000 AND 50000;
SELECT count(*) FROM item a JOIN item b ON a.number = b.number + 1;
SELECT substr(name, 1, 13) AS head, count(*) FROM item GROUP BY head ORDER BY 2 DESC LIMIT 5;
UPDATE item SET name = name || '!' WHERE number % 3 = 0;
DELETE FROM item WHERE number % 5 = 0;
CREATE TABLE log (text TEXT);
