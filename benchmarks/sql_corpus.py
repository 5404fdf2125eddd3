"""SQL statements as language models write them: valid ones, and ones with a mistake."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

VALID = """
SELECT a, b FROM t WHERE a > 1 AND b IS NOT NULL ORDER BY a DESC
SELECT COUNT(*) AS n, SUM(x) FROM orders GROUP BY customer_id HAVING COUNT(*) > 3
SELECT DISTINCT c.name FROM customers AS c INNER JOIN orders AS o ON c.id = o.customer_id
SELECT t.a, u.b FROM t LEFT JOIN u ON t.id = u.id WHERE u.b BETWEEN 1 AND 10
WITH top AS (SELECT id, total FROM sales WHERE total > 100) SELECT * FROM top WHERE id IN (1, 2, 3)
SELECT CASE WHEN a = 1 THEN 'one' WHEN a = 2 THEN 'two' ELSE 'many' END AS label FROM t
SELECT a FROM t UNION ALL SELECT b FROM u
SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c) AS rank FROM t
SELECT name FROM people WHERE name LIKE 'A%' AND EXISTS (SELECT 1 FROM pets WHERE owner = people.id)
INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')
INSERT INTO t (a, b) SELECT a, b FROM u
UPDATE t SET a = a + 1, b = 'z' WHERE id = 5
DELETE FROM t WHERE created_at < '2024-01-01'
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL, balance DECIMAL(10, 2))
CREATE TABLE a (id INT, b_id INT, FOREIGN KEY (b_id) REFERENCES b (id))
CREATE VIEW v AS SELECT a, b FROM t
CREATE INDEX i ON t (a, b)
ALTER TABLE t ADD COLUMN c VARCHAR(10)
DROP TABLE t
SELECT AVG(price) FROM (SELECT price FROM items WHERE kind = 'tea') AS x
SELECT CAST(a AS INTEGER), COALESCE(b, 0) FROM t
SELECT a FROM t WHERE b = (SELECT MAX(b) FROM t)
SELECT EXTRACT(YEAR FROM d) AS y FROM t
SELECT a, b, c FROM t1 CROSS JOIN t2
SELECT SUM(a) OVER (ORDER BY d ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM t
SELECT a FROM t WHERE NOT (b = 1 OR c = 2)
SELECT s.id, s.day, s.amount - LAG(s.amount) OVER (ORDER BY s.day) AS change FROM sales AS s
SELECT department, AVG(salary) FROM employees GROUP BY department ORDER BY AVG(salary) DESC
SELECT a || '-' || b AS joined FROM t
SELECT MIN(a), MAX(b) FROM t WHERE c IN (SELECT c FROM u)
""".strip().splitlines()
_TOKEN = re.compile(r"(\s*)('[^']*'|[\w.]+|[^\s\w])")


def broken(seed: int, rounds: int) -> Iterator[str]:
    """Statements with one token removed, doubled or swapped, or cut off after a token."""
    draw = random.Random(seed)
    for _ in range(rounds):
        for statement in VALID:
            tokens = [before + token for before, token in _TOKEN.findall(statement)]
            at = draw.randrange(len(tokens))
            match draw.randrange(4):
                case 0:
                    del tokens[at]
                case 1:
                    tokens.insert(at, " " + tokens[at].strip())
                case 2:
                    other = draw.randrange(len(tokens))
                    tokens[at], tokens[other] = tokens[other], tokens[at]
                case _:
                    tokens = tokens[: at + 1]
            yield "".join(tokens).strip()
