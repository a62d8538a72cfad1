"""How hypothesis runs: no test fails because the machine is slow, and each run looks at the same examples.

`make fuzz` looks at others each time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

SHARED_FIXTURES = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
"""For a test whose examples may use one directory one after the other."""
