"""MLflow's scoring server with a model that gives the mean of each row.

Says its address on the first line, and for each line on standard input how many requests of each path came.
"""

import json
import socket
import sys
import tempfile
import threading
from collections import Counter

import mlflow.pyfunc
import pandas
import uvicorn
from mlflow.pyfunc import scoring_server


class Mean(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        # the tensors of `inputs` come as they are
        return pandas.DataFrame(model_input).mean(axis=1, numeric_only=True).tolist()


def load():
    folder = tempfile.mkdtemp() + "/model"
    # what it is made of is here already; to infer it takes a minute
    mlflow.pyfunc.save_model(folder, python_model=Mean(), pip_requirements=[])
    return mlflow.pyfunc.load_model(folder)


def counting(app, counts):
    async def counted(scope, receive, send):
        if scope["type"] == "http":
            counts[scope["path"]] += 1
        await app(scope, receive, send)

    return counted


def answer(counts):
    for _ in sys.stdin:
        print(json.dumps(counts), flush=True)


counts = Counter()
app = counting(scoring_server.init(load()), counts)
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
threading.Thread(target=answer, args=(counts,), daemon=True).start()
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
