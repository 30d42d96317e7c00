"""Oracle tests: an independent program computes the same thing, and both must agree.

The networks' prototxts are written here a second time, layer by layer from the papers' tables and not from our
modules (networks-2014-2016 §1–§5, networks-2015-2017 §0–§1.3 of the specification), get the weights of one of our
networks, all random, and are run by OpenCV's importer of Caffe files. A kernel, stride, pad, dilation or crop that we
got wrong shows as other scores; so does one that torch and Caffe understand differently.

`caffe.py` writes the files and runs them; `deeplab.py`, `dilation.py` and so on hold the prototxts, `resnet.py` the
units of a ResNet; `compare.py` makes the weights and compares the scores, `twins.py` of a file that our formats import.
"""
