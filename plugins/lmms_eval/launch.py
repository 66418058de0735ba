"""lmms-eval's command line with the model `dtbox`: python plugins/lmms_eval/launch.py --model dtbox ..."""
from dtbox_lmms_eval import main

if __name__ == '__main__':
    main()
