"""MLflow's scoring server: `scoring.py mean`, whose model gives the mean of each row, or `scoring.py places`.

The model of `places` was saved without a signature, as both are, and knows columns by their position only.
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


class Places(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        # 1 for the first column, 10 for the second, 100 for the third
        values = pandas.DataFrame(model_input).to_numpy()
        return (values * [10**place for place in range(values.shape[1])]).sum(axis=1).tolist()


MODELS = {"mean": Mean, "places": Places}


def load(model):
    folder = tempfile.mkdtemp() + "/model"
    # what it is made of is here already; to infer it takes a minute
    mlflow.pyfunc.save_model(folder, python_model=model, pip_requirements=[])
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
app = counting(scoring_server.init(load(MODELS[sys.argv[1]]())), counts)
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
threading.Thread(target=answer, args=(counts,), daemon=True).start()
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
