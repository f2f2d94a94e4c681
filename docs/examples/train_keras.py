"""Train a small network on random numbers with Keras, and look at the run."""

import numpy as np

import cirron as ci

ci.profile()  # Keras may be imported before or after

import keras  # noqa: E402

x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])

model.fit(x, y, epochs=2, batch_size=64, validation_split=0.5, verbose=0)
model.predict(x, verbose=0)
ci.trace()
