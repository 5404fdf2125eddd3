"""Rows whose model calls a slow tool, and a tool server that dies, also with data-designer.

    python -m benchmarks.tools

Each of 24 rows calls a tool once, which takes one second; 8 rows are generated at a time. The time
is that of `create`, minus that of the same dataset with a tool that answers at once. In the second
dataset, the tool server ends itself in its ninth call.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.reference import VERSION, measured

ROWS = 24
PARALLEL = 8

_SCRIPT = '''
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import data_designer.config as dd
from data_designer.interface import DataDesigner

ROWS, PARALLEL = int(sys.argv[1]), int(sys.argv[2])
SERVER = """
import asyncio, os, sys
from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

server, state = FastMCP("slow", log_level="ERROR"), {"calls": 0}

@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def look(row: int) -> str:
    state["calls"] += 1
    if len(sys.argv) > 2 and state["calls"] == 9 and not os.path.exists(sys.argv[2]):
        open(sys.argv[2], "w").close()
        os._exit(1)
    await asyncio.sleep(float(sys.argv[1]))
    return "found"

server.run("stdio")
"""
Path("server.py").write_text(SERVER)

class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": "done"}
        if body["messages"][-1]["role"] != "tool" and body.get("tools"):
            function = {"name": "look", "arguments": json.dumps({"row": 1})}
            call = {"id": "c1", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        found = {"id": "a", "object": "chat.completion", "created": 0, "model": "m"}
        answer = json.dumps({**found, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

http = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=http.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{http.server_address[1]}/v1"

def create(name, *arguments):
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=PARALLEL)
    model = dd.ModelConfig(
        alias="m", model="m", provider="here", inference_parameters=parameters
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    category = dd.CategorySamplerParams(values=["tea"])
    builder.add_column(dd.SamplerColumnConfig(
        name="topic", sampler_type="category", params=category
    ))
    builder.add_column(dd.LLMTextColumnConfig(
        name="text", model_alias="m", prompt="On {{ topic }}", tool_alias="t"
    ))
    builder.add_tool_config(dd.ToolConfig(tool_alias="t", providers=["slow"], timeout_sec=30))
    server = {"name": "slow", "command": sys.executable, "args": ["server.py", *arguments]}
    if "max_parallel_calls" in dd.LocalStdioMCPProvider.model_fields:
        server["max_parallel_calls"] = PARALLEL
    designer = DataDesigner(
        artifact_path=name,
        model_providers=[dd.ModelProvider(name="here", endpoint=url, api_key="none")],
        mcp_providers=[dd.LocalStdioMCPProvider(**server)],
    )
    began = time.perf_counter()
    try:
        results = designer.create(builder, num_records=ROWS)
        rows = len(results.load_dataset())
    except Exception as error:
        print(error, file=sys.stderr)
        rows = 0
    return time.perf_counter() - began, rows

create("warm", "0")
quick, _ = create("quick", "0")
slow, rows = create("slow", "1")
assert rows == ROWS, rows
_, kept = create("dying", "0.2", "died")
print(json.dumps({"seconds": slow - quick, "kept": kept}))
'''


def main() -> None:
    """Run the benchmark and print the table."""
    ideal = ROWS / PARALLEL
    headings = ("", "this project", f"data-designer {VERSION}")
    table = Table(*headings, title=f"{ROWS} rows, {PARALLEL} at a time, a tool of one second")
    ours, theirs = measured(_SCRIPT, str(ROWS), str(PARALLEL))
    for name, form, value in (
        ("time / ideal", "{:.2f}", lambda each: each["seconds"] / ideal),
        ("rows kept when the server dies", "{:.0f}", lambda each: each["kept"]),
    ):
        table.add_row(name, form.format(value(ours)), form.format(value(theirs)))
    Console().print(table)


if __name__ == "__main__":
    main()
