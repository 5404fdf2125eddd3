CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT, since DATE);
CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price REAL);
CREATE TABLE purchase (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER REFERENCES customer (id),
    product_id INTEGER REFERENCES product (id),
    quantity INTEGER,
    bought_on DATE
);
INSERT INTO customer VALUES (1, 'Ada', 'Leeds', '2021-03-01'), (2, 'Ben', 'York', '2023-07-15');
INSERT INTO product VALUES (1, 'kettle', 39.9), (2, 'lamp', 24.5), (3, 'chair', 119.0);
INSERT INTO purchase VALUES (1, 1, 1, 2, '2024-01-05'), (2, 1, 3, 1, '2024-02-11');
INSERT INTO purchase VALUES (3, 2, 2, 4, '2024-02-20');
