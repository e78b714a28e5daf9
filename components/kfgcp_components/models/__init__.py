"""Write and read models. Tasks pass a model to each other as a folder.

The folder has two files. `model.json` describes the model: its format, the versions of libraries,
its signature and the columns of its tables. `model.skops` is the fitted pipeline of scikit-learn.

Reading a model never runs code from its files. Every type in `model.skops` must be in the list of
`trusted_types`, and the arrays of decision trees are checked before scikit-learn uses them.
"""

from kfgcp_components.models.folder import read_model, write_model
from kfgcp_components.models.model import Model, TableModel

__all__ = ["Model", "TableModel", "read_model", "write_model"]
