"""Caffe's files without Caffe: weights (`.caffemodel`, `.binaryproto`) and networks (`.prototxt`)."""

from pixelwise.caffe.caffemodel import CaffeLayer, CaffeWeights, read_binaryproto, read_caffemodel, write_caffemodel
from pixelwise.caffe.prototxt import Message, Symbol, prototxt_text, read_prototxt

__all__ = [
    "read_caffemodel",
    "CaffeWeights",
    "CaffeLayer",
    "write_caffemodel",
    "read_binaryproto",
    "read_prototxt",
    "prototxt_text",
    "Message",
    "Symbol",
]
