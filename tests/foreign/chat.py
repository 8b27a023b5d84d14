"""guidellm's mock of an OpenAI server: `chat.py TTFT_MS BETWEEN_TOKENS_MS`.

Says its address on the first line, and for each line on standard input how many requests of each path came.
"""

import json
import socket
import sys
import threading
from collections import Counter

# our own lines; what sanic logs goes elsewhere
out, sys.stdout = sys.stdout, sys.stderr

from guidellm.mock_server import MockServer
from guidellm.schemas.mock_server import MockServerConfig

counts = Counter()


def answer():
    for _ in sys.stdin:
        print(json.dumps(counts), file=out, flush=True)


first, between = map(float, sys.argv[1:])
server = MockServer(MockServerConfig(model="mock", ttft_ms=first, itl_ms=between))


@server.app.on_request
def count(request):
    counts[request.path] += 1


listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=out, flush=True)
threading.Thread(target=answer, daemon=True).start()
# its own `run` takes no socket, and a port that was free a moment ago need not be so now
server.app.run(sock=listener, single_process=True, access_log=False, motd=False)
