"""The metrics of tasks, by name: those of GLUE (Wang et al. 2019, table 1), and of tasks with any number of labels.

Each is a function of what is right and what was answered: ids of labels, int [N]; 0 or 1 for each label, int [N, C]; or
numbers, float [N].
"""

import math

import numpy as np


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the share of the examples whose answer is right."""
    return float((labels == predictions).mean())


def exact_match(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the share of the examples whose labels are all right, [N, C]."""
    return float((labels == predictions).all(-1).mean())


def matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the correlation coefficient of Matthews, from -1 to 1; 0 if only one label was answered."""
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(labels, predictions)


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the F1 score of the label with id 1."""
    return _f1(labels, predictions, "binary")


def f1_macro(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the mean of the F1 scores of the labels; of [N], those that are right or were answered anywhere."""
    return _f1(labels, predictions, "macro")


def f1_micro(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the F1 score of all decisions for or against a label taken together."""
    return _f1(labels, predictions, "micro")


def _f1(labels, predictions, average) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, predictions, average=average, zero_division=0.0)


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the linear correlation; NaN if either side is one number throughout, where there is none."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, labels, predictions)


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Returns the correlation of the ranks, with NaN as in `pearson`."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, labels, predictions)


def _correlation(correlate, labels, predictions) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return math.nan
    return correlate(labels.astype(np.float64), predictions.astype(np.float64)).statistic


METRICS = {
    function.__name__: function
    for function in (accuracy, exact_match, matthews, f1, f1_macro, f1_micro, pearson, spearman)
}
