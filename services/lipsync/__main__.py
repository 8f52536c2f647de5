"""Start the lipsync: python -m services.lipsync"""

from services.lipsync.config import LipsyncConfig
from services.lipsync.engines import load_engines
from services.lipsync.servicer import LipsyncServicer
from services.runtime.server import serve

if __name__ == "__main__":
    serve("lipsync", LipsyncConfig, lambda config: LipsyncServicer(*load_engines(config)))
