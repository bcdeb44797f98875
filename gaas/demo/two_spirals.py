#!/usr/bin/env python3
"""Train a small neural network to tell two spirals apart, by hand: no package, about eight seconds of one core.

Reports its progress to the platform and leaves result.json.
"""

import json
import math
import os
import random
import time

SECONDS = 8.0
HIDDEN = 24
RATE = 0.03

random.seed(7)


def spirals(count):
    """Make `count` points of two interleaved spirals: ((x, y), label)."""
    points = []
    for i in range(count):
        label = i % 2
        turn = 0.5 + 2.0 * math.pi * (i / count) * 1.3
        radius = turn / 9.0
        angle = turn + math.pi * label
        noise = random.gauss(0, 0.015)
        points.append(((radius * math.cos(angle) + noise, radius * math.sin(angle) + noise), label))
    return points


def features(x, y):
    return (1.0, x, y, x * x, y * y, x * y, math.sin(4 * x), math.sin(4 * y), math.cos(4 * x), math.cos(4 * y))


data = [(features(*point), label) for point, label in spirals(240)]
random.shuffle(data)
train, test = data[:180], data[180:]
width = len(data[0][0])
first = [[random.gauss(0, 0.6) for _ in range(width)] for _ in range(HIDDEN)]
second = [random.gauss(0, 0.4) for _ in range(HIDDEN + 1)]


def forward(inputs):
    hidden = [math.tanh(sum(w * v for w, v in zip(row, inputs))) for row in first]
    score = second[-1] + sum(w * h for w, h in zip(second, hidden))
    return hidden, 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, score))))


def accuracy(points):
    return sum((forward(inputs)[1] > 0.5) == bool(label) for inputs, label in points) / len(points)


def report(step, of, metrics):
    fd = os.environ.get("GAAS_PROGRESS_FD")
    if fd:
        os.write(int(fd), f"GAAS_PROGRESS {json.dumps({'step': step, 'of': of, 'metrics': metrics})}\n".encode())


began = time.monotonic()
shown, epoch, loss = -1, 0, 0.0
print(f"two spirals: {len(train)} points to learn, {len(test)} to test, {HIDDEN} hidden units", flush=True)
while (spent := time.monotonic() - began) < SECONDS:
    epoch += 1
    loss = 0.0
    for inputs, label in train:
        hidden, guess = forward(inputs)
        loss -= math.log(max(1e-12, guess if label else 1.0 - guess))
        error = guess - label
        for j, h in enumerate(hidden):
            slope = error * second[j] * (1.0 - h * h)
            second[j] -= RATE * error * h
            row = first[j]
            for k, value in enumerate(inputs):
                row[k] -= RATE * slope * value
        second[-1] -= RATE * error
    loss /= len(train)
    if int(spent) > shown:
        shown = int(spent)
        test_accuracy = accuracy(test)
        print(f"epoch {epoch:4d}  loss {loss:.4f}  test accuracy {test_accuracy:.3f}", flush=True)
        report(
            min(shown, int(SECONDS)), int(SECONDS), {"loss": round(loss, 4), "test_accuracy": round(test_accuracy, 3)}
        )

report(int(SECONDS), int(SECONDS), {"loss": round(loss, 4), "test_accuracy": round(accuracy(test), 3)})
result = {
    "epochs": epoch,
    "loss": round(loss, 5),
    "train_accuracy": round(accuracy(train), 3),
    "test_accuracy": round(accuracy(test), 3),
    "seconds": round(time.monotonic() - began, 2),
}
with open(os.path.join(os.environ.get("GAAS_OUTPUT", "."), "result.json"), "w") as file:
    json.dump(result, file)
print(f"done: {result}", flush=True)
