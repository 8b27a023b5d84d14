"""A text categoriser by grpcio, with reflection and health: `categorizer.py FOLDER PROTO`.

Compiles PROTO, which lies in FOLDER, as its users do. Says its address on the first line, and for each line on standard input how many
calls of each method came.
"""

import importlib
import json
import sys
import tempfile
import threading
from collections import Counter
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_tools import protoc

NAME = "categorization.TextCategorization"


def compile_proto(folder, proto):
    out = tempfile.mkdtemp()
    if protoc.main(["protoc", f"-I{folder}", f"--python_out={out}", f"--grpc_python_out={out}", proto]) != 0:
        sys.exit(f"cannot compile {proto}")
    sys.path.insert(0, out)
    name = proto.removesuffix(".proto")
    return importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")


def category(text):
    return "sports" if "team" in text else "other"


def serve(messages, stubs):
    counts, lock = Counter(), threading.Lock()

    def count(method):
        with lock:
            counts[method] += 1

    def reply(text):
        if not text:
            raise ValueError("no text")
        return messages.PredictionReply(text=text, prediction_id="1", category=category(text))

    class Categorizer(stubs.TextCategorizationServicer):
        def GetPrediction(self, request, context):
            count("GetPrediction")
            if not request.text:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there is no text")
            context.set_trailing_metadata((("served-by", "grpcio"),))
            return reply(request.text)

        def WatchPrediction(self, request, context):
            count("WatchPrediction")
            for _ in range(request.count or 3):
                yield reply(request.text)

        def SummarizePredictions(self, requests, context):
            count("SummarizePredictions")
            categories = Counter(category(request.text) for request in requests)
            return messages.PredictionSummary(texts=sum(categories.values()), categories=categories)

        def GetPredictions(self, requests, context):
            count("GetPredictions")
            for request in requests:
                yield reply(request.text)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    stubs.add_TextCategorizationServicer_to_server(Categorizer(), server)
    checks = health.HealthServicer()
    checks.set(NAME, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    for _ in sys.stdin:
        with lock:
            print(json.dumps(counts), flush=True)
    server.stop(grace=None)


serve(*compile_proto(*sys.argv[1:]))
