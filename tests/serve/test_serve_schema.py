"""The OpenAPI schema says what the service does: schemathesis asks whatever the schema allows, and what it does not."""

import pytest
from hypothesis import HealthCheck, settings

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture
def schema(app_with):
    return schemathesis.openapi.from_asgi("/openapi.json", app_with()[1], headers={"Host": "localhost"})


lazy = schemathesis.pytest.from_fixture("schema")


@pytest.mark.slow
@lazy.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_answer_is_one_that_the_schema_names(case):
    case.headers = {**(case.headers or {}), "Host": "localhost"}
    case.call_and_validate()
