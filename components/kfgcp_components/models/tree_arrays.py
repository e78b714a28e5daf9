"""Check the arrays of decision trees.

scikit-learn follows the numbers in these arrays without checks. A wrong child makes it read memory
outside of the array, and a cycle makes it run for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.tree._tree import NODE_DTYPE

# The field of the left child, where a leaf has no children.
TREE_LEAF = -1

# A structured array with one record for each node, shape (nodes,).
Nodes: TypeAlias = npt.NDArray[np.void]
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class TreeState:
    """The state of a tree of a random forest, before scikit-learn builds the tree from it.

    Attributes:
        feature_count: the number of columns that the tree takes.
        class_counts: the number of classes for each output, shape (outputs,).
        output_count: the number of outputs.
        node_count: the number of nodes.
        nodes: the nodes, shape (nodes,).
        values: the prediction of each node, shape (nodes, outputs, classes).
    """

    feature_count: object
    class_counts: Array
    output_count: object
    node_count: object
    nodes: Array
    values: Array


def check_tree(tree: TreeState) -> None:
    """Check the state of a tree of a random forest.

    Raises:
        ValueError: scikit-learn could read outside of an array, or run for ever.
    """
    if type(tree.feature_count) is not int or tree.feature_count < 1:
        raise ValueError(f"a tree has {tree.feature_count!r} columns")
    if type(tree.output_count) is not int or tree.output_count != 1:
        raise ValueError(f"a tree has {tree.output_count!r} outputs instead of 1")
    counts = tree.class_counts
    if counts.shape != (1,) or counts.dtype.kind not in "iu" or counts[0] < 1:
        raise ValueError("the number of classes of a tree is not one positive number")
    nodes = tree.nodes
    if nodes.dtype != NODE_DTYPE or nodes.ndim != 1 or len(nodes) == 0:
        raise ValueError("the nodes of a tree are not an array of nodes")
    if type(tree.node_count) is not int or tree.node_count != len(nodes):
        raise ValueError(f"a tree counts {tree.node_count!r} nodes and has {len(nodes)}")
    if tree.values.dtype != np.float64 or tree.values.shape != (len(nodes), 1, counts[0]):
        raise ValueError("the values of a tree do not fit its nodes")
    if not np.isfinite(tree.values).all():
        raise ValueError("a value of a tree is not a finite number")
    is_leaf = nodes["left_child"] == TREE_LEAF
    if (nodes["right_child"][is_leaf] != TREE_LEAF).any():
        raise ValueError("a node of a tree has only one child")
    _check_children(nodes["left_child"], nodes["right_child"], is_leaf)
    _check_splits(nodes["feature"], nodes["threshold"], is_leaf, tree.feature_count)


def check_boosted_tree(nodes: object, feature_count: int) -> None:
    """Check the nodes of a tree of a gradient boosting model.

    Raises:
        ValueError: scikit-learn could read outside of an array or run for ever, or a node splits by
            categories, which our pipelines never do.
    """
    if not isinstance(nodes, np.ndarray) or nodes.dtype != PREDICTOR_RECORD_DTYPE:
        raise ValueError("the nodes of a boosted tree are not an array of nodes")
    if nodes.ndim != 1 or len(nodes) == 0:
        raise ValueError("a boosted tree has no nodes")
    if nodes["is_categorical"].any():
        raise ValueError("a boosted tree splits by categories, which is not supported")
    if not np.isfinite(nodes["value"]).all():
        raise ValueError("a value of a boosted tree is not a finite number")
    is_leaf = nodes["is_leaf"] != 0
    # The fields are unsigned, and as signed numbers they can be compared with positions.
    _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), is_leaf)
    _check_splits(nodes["feature_idx"], nodes["num_threshold"], is_leaf, feature_count)


def check_bins(thresholds: object, feature_count: int, bin_count: int) -> None:
    """Check the thresholds between the bins of each column of a gradient boosting model.

    Args:
        thresholds: for each column, an array of ascending numbers.
        feature_count: the number of columns.
        bin_count: the largest number of bins, without the one for missing values.

    Raises:
        ValueError: the thresholds do not have this form.
    """
    if not isinstance(thresholds, list) or len(thresholds) != feature_count:
        raise ValueError("the bins of a gradient boosting model do not fit its columns")
    for numbers in thresholds:
        is_array = isinstance(numbers, np.ndarray) and numbers.dtype == np.float64
        if not is_array or numbers.ndim != 1 or len(numbers) >= bin_count:
            raise ValueError("the bins of a column are not an array of thresholds")
        if np.isnan(numbers).any() or (np.diff(numbers) <= 0).any():
            raise ValueError("the thresholds between the bins of a column do not ascend")


def _check_children(left: Array, right: Array, is_leaf: npt.NDArray[np.bool_]) -> None:
    """Check that the children of each inner node come after the node, and are in the array.

    scikit-learn numbers nodes in this order. Because numbers only grow on the way down, there can
    be no cycle.
    """
    positions = np.flatnonzero(~is_leaf)
    for children in (left[positions], right[positions]):
        if (children >= len(left)).any() or (children < 0).any():
            raise ValueError("a child of a node is outside of its tree")
        if (children <= positions).any():
            raise ValueError("a child of a node comes before the node, so the tree has a cycle")


def _check_splits(
    features: Array, thresholds: Array, is_leaf: npt.NDArray[np.bool_], feature_count: int
) -> None:
    inner_features = features[~is_leaf]
    if (inner_features < 0).any() or (inner_features >= feature_count).any():
        raise ValueError(f"a node splits by a column outside of the {feature_count} columns")
    # Infinity is possible: it separates missing values from all others.
    if np.isnan(thresholds[~is_leaf]).any():
        raise ValueError("the threshold of a node is not a number")
