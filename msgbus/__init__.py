"""msgbus: one small messaging interface for Kafka, RabbitMQ, Redis Streams and memory."""
