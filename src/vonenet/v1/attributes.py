"""What happens when an attribute of a built model is assigned: it acts, or one line says what does.

Programs written for the original package set attributes such as `noise_mode`. One that nobody reads
would leave the responses as they were without a word.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from vonenet.errors import InputError, VOneNetWarning

# A name as near as this to a setting's is taken for a slip: `noise_sclae`.
NEAR = 0.85


class Answering(nn.Module):
    """A module in which no setting can be assigned in vain.

    A name that is `settable` acts at the next call. One in `instead`, which is fixed once the
    module is built or has another name here, raises with what to type. One that is nearly such a
    name warns. Any other is the user's own, and hooks and parametrizations work as in any module.
    """

    settable: ClassVar[Iterable[str]] = ()
    instead: ClassVar[Mapping[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "module":  # not the model itself: tools would unwrap it for ever
            raise AttributeError("this model is not wrapped: leave out .module")
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        if name in self.instead:
            text = repr(value)
            line = self.instead[name].format(value="..." if "\n" in text else text[:60])
            raise InputError(f"{name} cannot be set on a built {kind}; type {line}")
        known = name in vars(self) or name in self.settable or hasattr(type(self), name)
        if not (known or name.startswith("_") or isinstance(value, nn.Module)):
            near = difflib.get_close_matches(name, [*self.settable, *self.instead], 1, NEAR)
            if near:
                said = f"a {kind} does not read {name}, which was set; did you mean {near[0]}?"
                warnings.warn(said, VOneNetWarning, stacklevel=2)
        super().__setattr__(name, value)
