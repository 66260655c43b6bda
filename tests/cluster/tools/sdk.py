"""Approves with Feldera's own Python SDK: the arguments are the endpoint's URL and a pipeline's name."""

import os
import sys

from feldera import FelderaClient
from feldera.rest.errors import FelderaAPIError

url, name = sys.argv[1:]


def refused(code, status, client, **options):
    try:
        client.approve_pipeline(name, **options)
    except FelderaAPIError as error:
        assert (error.error_code, error.status_code) == (code, status), error
        return
    raise AssertionError(f"{code} was expected")


client = FelderaClient(url, api_key=os.environ["KEY"], timeout=30, connection_timeout=10)
refused("InvalidBootstrapConfig", 400, client, silent_bootstrap=True, concurrent_bootstrap=True)
refused("OtherBootstrapOptions", 409, client, silent_bootstrap=True)
client.approve_pipeline(name)
client.approve_pipeline(name)

try:
    FelderaClient(url, api_key="apikey:made-up")
    raise AssertionError("a made-up key is taken")
except FelderaAPIError as error:
    assert error.error_code == "AuthenticationFailed", error
