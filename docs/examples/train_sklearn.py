"""Search for the best support vector machine on handwritten digits, and look at the search."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import cirron as ci

images, labels = load_digits(return_X_y=True)  # 1,797 images of 8 x 8 pixels
train_x, test_x, train_y, test_y = train_test_split(images, labels, random_state=0)

ci.profile()
pipeline = Pipeline([("scale", StandardScaler()), ("svc", SVC())])
search = ci.wrap(GridSearchCV(pipeline, {"svc__C": [1, 10]}, cv=2))
search.fit(train_x, train_y)
search.score(test_x, test_y)
