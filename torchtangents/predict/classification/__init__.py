"""Ways to classify with the kernel of a network: each learns from a `Task` and gives log probabilities of classes."""

from .method import METHODS as METHODS
from .method import Method as Method
from .method import find as find
from .task import Task as Task
