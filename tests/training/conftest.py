"""Tests of training write many checkpoints, which need not wait for the disk."""

import os

import pytest


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
