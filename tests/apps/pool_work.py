"""A decorated function that process pools import, whatever their start method."""

from work import serve

import cirron as ci


@ci.inference(config={"threshold": 0.5})
def predict(number: int) -> int:
    with ci.scope("work"):
        return serve(number)["number"]


def predict_in_session(number: int) -> int:
    """For a process that inherited no session."""
    ci.profile()
    return predict(number)
