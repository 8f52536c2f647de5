"""Start the decoder: python -m services.decoder"""

from services.decoder.config import DecoderConfig
from services.decoder.engines import load_engine
from services.decoder.servicer import DecoderServicer
from services.runtime.server import serve


def make_servicer(config: DecoderConfig) -> DecoderServicer:
    return DecoderServicer(load_engine(config.engine, config.hardware), config.store)


if __name__ == "__main__":
    serve("decoder", DecoderConfig, make_servicer)
