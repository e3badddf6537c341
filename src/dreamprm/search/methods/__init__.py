"""Ways to search: which chains are continued, how often, and which complete one is the answer."""

from dreamprm.search.methods.base import Ask, Plan, SearchMethod
from dreamprm.search.methods.registry import METHODS, build_method, method_settings

__all__ = ["METHODS", "Ask", "Plan", "SearchMethod", "build_method", "method_settings"]
