"""What every service is made of, put together once: databases, feed, peers, server, and the work that one process does.

The only library that knows both dbcommon and rpccommon; a service's `__main__` builds its use cases between `Parts` and
`serving`. Reading order: parts, wanted, workers, running.
"""

from service.parts import APP_POOL, PLATFORM_POOL, Parts, now, published_keys
from service.running import Unready, beside, freeze, serving
from service.wanted import COMMON, Following, Serving, Worker, parked_of, sagas_of

__all__ = [
    "APP_POOL", "COMMON", "PLATFORM_POOL", "Following", "Parts", "Serving", "Unready", "Worker", "beside", "freeze", "now", "parked_of",
    "published_keys", "sagas_of", "serving",
]  # fmt: skip
