"""Start the restorer: python -m services.restorer"""

from services.restorer.config import RestorerConfig
from services.restorer.engines import load_engines
from services.restorer.servicer import RestorerServicer
from services.runtime.server import serve

if __name__ == "__main__":
    serve("restorer", RestorerConfig, lambda config: RestorerServicer(*load_engines(config)))
