"""The original package's module of this name, for programs that import the V1 block from it."""

from vonenet.v1.block import VOneBlock as VOneBlock
