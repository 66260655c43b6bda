"""What the document can't say: a parameter of OpenAPI 3.1 knows nothing of the others."""

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """Both bootstrap options together are refused, as in Feldera's own API, although each is good by
    itself. So they are no example of a request that must be accepted; others may have them."""
    options = ("silent_bootstrap", "concurrent_bootstrap")
    query = case.query if isinstance(case.query, dict) else {}
    both = all(str(query.get(option)).lower() == "true" for option in options)
    return not (both and case.meta is not None and case.meta.generation.mode.is_positive)
