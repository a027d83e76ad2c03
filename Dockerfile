# The lab and its notebooks in JupyterLab, one container for each student:
#   docker build -t sync-async-lab .
#   docker run --rm --init --cpus 2 -p 127.0.0.1:8888:8888 sync-async-lab
FROM python:3.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 1000 student && install -d -o 1000 -g 1000 /data

WORKDIR /opt/sync-async-lab
COPY pyproject.toml README.md LICENSE constraints-run.txt ./
COPY binder/requirements.txt binder/
COPY lab lab
RUN python -m pip install --no-cache-dir --require-hashes -r constraints-run.txt \
    && python -m pip install --no-cache-dir -r binder/requirements.txt

COPY --chown=1000:1000 notebooks /home/student/notebooks

# By its number: Kubernetes then knows that it is not root.
USER 1000
WORKDIR /home/student
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
