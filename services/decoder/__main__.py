"""Start the decoder: python -m services.decoder"""

from services.decoder.config import DecoderConfig
from services.decoder.engines import load_engine
from services.decoder.servicer import DecoderServicer
from services.runtime.bucket_cache import open_cache
from services.runtime.server import serve


def make_servicer(config: DecoderConfig) -> DecoderServicer:
    cache = open_cache("DECODER_ARTIFACTS", config.artifacts, config.store, config.cache_bytes)
    return DecoderServicer(load_engine(config.engine, config.hardware), config.store, cache)


if __name__ == "__main__":
    serve("decoder", DecoderConfig, make_servicer)
