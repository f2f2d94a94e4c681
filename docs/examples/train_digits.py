"""Train a small network on scikit-learn's handwritten digits, and look at the run."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import cirron as ci

EPOCHS = 3
BATCH = 256

warnings.simplefilter("ignore", ConvergenceWarning)

ci.profile()  # opens a session; traces go to ./.cirron/

with ci.scope("load_data", dataset="digits"):
    images, labels = load_digits(return_X_y=True)  # 1,797 images of 8 x 8 pixels
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, labels, test_size=0.2, random_state=0
    )

model = MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=0.005, random_state=0)
classes = np.unique(labels)
rng = np.random.default_rng(0)

for _epoch in ci.epochs(range(EPOCHS)):
    order = rng.permutation(len(train_x))
    starts = range(0, len(order), BATCH)
    for start in ci.batches(starts):
        with ci.scope("gather"):
            rows = order[start : start + BATCH]
            x, y = train_x[rows], train_y[rows]
        with ci.scope("partial_fit", samples=len(rows)):
            model.partial_fit(x, y, classes=classes)
        ci.mark("loss", model.loss_)
    with ci.scope("validation", samples=len(test_x)):
        probabilities = model.predict_proba(test_x)
        ci.mark("val_loss", log_loss(test_y, probabilities), kind="summary")
        accuracy = accuracy_score(test_y, probabilities.argmax(axis=1))
    ci.mark("accuracy", accuracy, kind="summary")

ci.trace()  # prints the tree; in a notebook it renders inline
