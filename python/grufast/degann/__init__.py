"""DEGANN's way to work with networks: a script written for it runs with this import.

DEGANN (github.com/Krekep/degann, PyPI 1.1.5; its GRU is in the fork Denigmma/degann)
approximates differential equations with small networks, on TensorFlow. Names, defaults
and files are its own; layers, losses, optimizers and training are those of `grufast`.

Examples
--------
>>> import numpy as np
>>> from grufast.degann import IModel, LossTracking
>>> x = np.linspace(0, 1, 50).reshape(-1, 1)
>>> net = IModel(input_size=1, block_size=[8, 8], output_size=1,
...              activation_func=["tanh", "tanh", "linear"], seed=0)
>>> net.compile(rate=1e-2, optimizer="Adam", loss_func="MeanSquaredError", metrics=[])
>>> losses = LossTracking()
>>> history = net.train(x, np.sin(10 * x), epochs=5, verbose=0, callbacks=[losses])
>>> len(losses.losses), net.predict(x).shape
(5, (50, 1))
"""

from grufast.callbacks import Callback
from grufast.degann.callbacks import (
    EarlyStopping,
    LightHistory,
    LossTracking,
    MeasureTrainTime,
    MemoryCleaner,
    SaveBestModel,
    VisualizationDense,
    VisualizationTS,
)
from grufast.degann.imodel import IModel
from grufast.degann.losses import (
    get,
    get_all_activations,
    get_all_loss_functions,
    get_all_metric_functions,
    get_all_optimizers,
    get_loss,
    get_metric,
    get_optimizer,
)

__all__ = [
    "Callback",
    "EarlyStopping",
    "IModel",
    "LightHistory",
    "LossTracking",
    "MeasureTrainTime",
    "MemoryCleaner",
    "SaveBestModel",
    "VisualizationDense",
    "VisualizationTS",
    "get",
    "get_all_activations",
    "get_all_loss_functions",
    "get_all_metric_functions",
    "get_all_optimizers",
    "get_loss",
    "get_metric",
    "get_optimizer",
]
