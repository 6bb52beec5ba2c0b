"""`python -m benchmarks.cifar10 --data PATH`: CIFAR-10 with kernels of infinitely wide networks, against training-set size.

The experiment of neural-tangents' announcement (Novak et al. 2020, arXiv 1912.02803) on as many images as a computer has time
for: fully connected, convolutional, wide residual and Myrtle networks, NNGP and NTK, beside a finite network.

- `data`: the images from either format, and the random order from which training sets are cut.
- `preprocess`: standardised channels, or regularised ZCA.
- `models`: the networks, and what a pair of images costs.
- `plan`: which images belong to which training set, and the parts in which a kernel is stored.
- `kernels`: one stored kernel a model, a folder of blocks made by `tt.scale.compute`.
- `evaluate`: class probabilities from a kernel; accuracy and log likelihood with bootstrap errors.
- `finite`: a network of ordinary width on the same images.
- `results`: rows of the CSV, which are what an interrupted run does not repeat, and the record of runs beside it.
- `plot`: the picture, and the table of the largest training sets.
"""
