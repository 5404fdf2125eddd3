"""A tool server that answers questions about the stock of a shop, with SQL.

    python deployments/stock_server.py

It speaks the Model Context Protocol on its standard input and output; `stock_questions.yaml` uses
it. Both tools only read, so a run that is resumed does not repeat turns that it has finished.
"""

import duckdb
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations

MOST_ROWS = 20
READ_ONLY = ToolAnnotations(readOnlyHint=True, openWorldHint=False)

server = FastMCP("stock", log_level="WARNING")
database = duckdb.connect(":memory:")
database.execute(
    """
    CREATE TABLE stock AS SELECT * FROM (VALUES
        ('kettle', 'kitchen', 39.90, 12),
        ('toaster', 'kitchen', 54.50, 0),
        ('frying pan', 'kitchen', 27.00, 40),
        ('watering can', 'garden', 14.95, 25),
        ('hedge trimmer', 'garden', 119.00, 3),
        ('desk lamp', 'office', 45.00, 8),
        ('stapler', 'office', 9.80, 130),
        ('chair', 'office', 189.00, 5)
    ) AS rows (product, department, price, quantity)
    """
)
# Models write the SQL: it must not read files, load extensions or change these settings.
database.execute("SET enable_external_access = false")
database.execute("SET lock_configuration = true")


@server.tool(annotations=READ_ONLY)
def describe_stock() -> str:
    """Describe the columns of the table stock."""
    columns = database.cursor().execute("DESCRIBE stock").fetchall()
    return "\n".join(f"{name}: {kind}" for name, kind, *_ in columns)


@server.tool(annotations=READ_ONLY)
def query_stock(sql: str) -> str:
    """Run one SELECT statement on the table stock (product, department, price, quantity)."""
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ToolError("use one SELECT statement")
        result = database.cursor().execute(sql)
        heads = [each[0] for each in result.description or ()]
        rows = result.fetchmany(MOST_ROWS)
    except duckdb.Error as error:  # the model can correct it
        raise ToolError(str(error)) from None
    return "\n".join(" | ".join(map(str, row)) for row in [heads, *rows])


if __name__ == "__main__":
    server.run("stdio")
