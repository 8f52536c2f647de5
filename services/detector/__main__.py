"""Start the detector: python -m services.detector"""

from services.detector.config import DetectorConfig
from services.detector.engines import load_engines
from services.detector.servicer import DetectorServicer
from services.runtime.server import serve

if __name__ == "__main__":
    serve("detector", DetectorConfig, lambda config: DetectorServicer(*load_engines(config)))
