"""Run the audit: python -m audit."""

from audit.compare import main

if __name__ == "__main__":
    main()
