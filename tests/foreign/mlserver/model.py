"""A text categoriser for MLServer."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Categorizer(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        categories = ["sports" if "team" in text else "other" for text in texts]
        outputs = [StringCodec.encode_output("category", categories)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
