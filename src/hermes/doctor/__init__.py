"""What is wrong or unsafe with a home and the machine it lives on, each finding with its mend."""

from .diagnosis import diagnose as diagnose
from .finding import Finding as Finding
from .finding import Severity as Severity
