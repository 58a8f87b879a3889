"""A network of skorch, fitted as scikit-learn's estimators are, on the digits of scikit-learn."""

import argparse

from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--train", type=int, default=600)
args = parser.parse_args()

x, y = load_digits(return_X_y=True)
x = (x / 16).astype("float32")


class Net(nn.Module):
    """Two layers."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 128), nn.Linear(128, 10)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    max_epochs=args.epochs,
    lr=0.2,
    iterator_train__shuffle=True,
    callbacks=[],
)
net.fit(x[: args.train], y[: args.train])
