FROM python:3.13-slim
WORKDIR /makegood
COPY . .
# The versions that were tested, but only those packages that the roles need.
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --constraint requirements.lock . \
    && useradd --system makegood
USER makegood
ENTRYPOINT ["makegood"]
