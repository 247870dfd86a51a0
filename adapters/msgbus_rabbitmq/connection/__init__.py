"""AMQP connections and their channels."""
