/* ccproxy_metrics: built from the files of sql/, in the order of their names */
-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION ccproxy_metrics" to load this file. \quit

