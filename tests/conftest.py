from __future__ import annotations

from hypothesis import HealthCheck, settings

# a busy machine is no fault of a test: the first example may wait for torch to be imported
settings.register_profile("maskrcnn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maskrcnn")
