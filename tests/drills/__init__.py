import pytest

pytest.register_assert_rewrite("tests.drills.drill", "tests.drills.running")
