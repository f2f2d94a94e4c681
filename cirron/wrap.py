"""`wrap`: the calls of an estimator's methods as spans."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def wrap(estimator: T) -> T:
    """Records each call of the estimator's methods as a span named after the method.

    That is fit, partial_fit, fit_transform, fit_predict, transform, inverse_transform,
    predict, predict_proba, predict_log_proba, decision_function, score and score_samples,
    with the attributes `estimator` (the class's name), `samples` and `features` (the shape
    of X). A method that an estimator calls on itself is part of the call that it came from.

    The estimators inside (steps of a pipeline, transformers of columns, the estimator of a
    search) are wrapped with it and have their name there as attribute `step`; so are clones.
    Results, parameters, pickles and `isinstance` stay as they are, and `cirron.shutdown`
    undoes it. A second call changes nothing.

    Args:
        estimator: an object with a method `fit`.

    Returns:
        The same object.

    Raises:
        TypeError: `estimator` has no fit, is a class, or can't be wrapped.
    """
    if isinstance(estimator, type):
        raise TypeError(f"wrap takes an estimator, not its class: ci.wrap({estimator.__name__}())")
    if not callable(getattr(estimator, "fit", None)):
        raise TypeError(
            f"wrap takes an estimator with a fit method, not {type(estimator).__name__!r} objects;"
            ' for other code use ci.scope("name")'
        )
    from cirron.hooks import sklearn  # here, because few programs wrap

    try:
        sklearn.wrap(estimator)
    except TypeError as error:
        raise TypeError(f"{type(estimator).__name__!r} objects can't be wrapped: {error}") from None
    return estimator
